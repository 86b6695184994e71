"""A queue on disk for what nobody else keeps: pushed events, polled rows, logs that rotate faster than they leave."""
