"""Independent plain implementations that the tests compare with; nothing here imports diptych."""
