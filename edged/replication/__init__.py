"""Room for snapshots, their store, and who holds what; nobody lives here yet (see README, "What it is not")."""
