"""What every part of Rua shares: errors, time, settings with line numbers, Kafka options, metrics, logging, protocols."""
