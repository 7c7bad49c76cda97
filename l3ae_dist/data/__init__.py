"""From interaction logs and catalogs to the training matrix."""
