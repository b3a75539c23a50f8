"""The mouth: what is told to people outside of the cluster."""
