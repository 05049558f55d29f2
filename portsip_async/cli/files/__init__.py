"""Files of extensions: imports, exports and reports."""
