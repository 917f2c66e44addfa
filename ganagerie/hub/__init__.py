"""Models from elsewhere and to elsewhere: a folder of https, hf, s3 or file that holds a card.

`source.py` is that folder, through fsspec; `pull.py` fetches from it and `push.py` puts into it.
"""
