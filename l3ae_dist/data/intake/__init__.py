"""From whatever people have their tables in to Arrow record batches, part by part, and to checked values."""
