"""Which tile tasks make up a stage and what they depend on."""
