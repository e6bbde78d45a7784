"""What can be known about TPUs without one: that every train step compiles for them, and how much memory it takes."""
