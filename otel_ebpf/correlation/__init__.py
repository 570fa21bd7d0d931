"""Which request caused which: connections, exchanges, parents and trace ids."""
