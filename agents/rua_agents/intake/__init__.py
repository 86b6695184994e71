"""What reaches the agent without a log to read again is parsed, pseudonymised and spooled, in a thread of its own."""
