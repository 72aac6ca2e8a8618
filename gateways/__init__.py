"""One module per outside thing: each is the only importer of its library and takes and returns our own plain values."""
