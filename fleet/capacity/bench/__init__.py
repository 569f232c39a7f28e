"""How fast a fleet is: tasks of its own at rising rates, each accounted for."""
