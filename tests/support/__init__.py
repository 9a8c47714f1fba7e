"""What tests share: a virtual clock, scripted streams, hostile texts, servers that record, and how to wait."""
