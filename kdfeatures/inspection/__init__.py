"""One page about a student and its teacher: similar layers, matched heads, attention maps (kdfeatures inspect)."""
