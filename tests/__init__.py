"""The tests: folders mirror the floors, journeys use nothing but real parts."""
