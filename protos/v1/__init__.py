"""Package `ganagerie.v1`: the .proto file is the API's documentation."""
