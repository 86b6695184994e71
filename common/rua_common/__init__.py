"""What every part of Rua shares: errors, time, settings, Kafka options, metrics, logging, protocols."""
