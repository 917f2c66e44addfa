"""What builds and checks what is shipped; nothing here is shipped."""
