"""The contract between the parts: records, topics, and how a record becomes bytes and comes back."""
