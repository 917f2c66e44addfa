"""Package `inference`: the .proto file says what each field means here."""
