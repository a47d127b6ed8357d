"""Scripts: absl mains that parse, validate and call one verb of the library."""
