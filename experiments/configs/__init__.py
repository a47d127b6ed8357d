"""One experiment is one page: each file returns a typed config from ``get_config``."""
