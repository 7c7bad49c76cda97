"""What `l3ae-dist doctor` looks at: facts of a node, probes of a store and of Ray, pure judgements."""
