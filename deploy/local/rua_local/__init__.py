"""Real services on one machine from Python packages alone: Apache Kafka, and ClickHouse's engine behind HTTP."""
