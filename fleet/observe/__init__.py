"""What the fleet is doing, decided from what was read: pure functions over plain values."""
