"""Music: rolls of notes and sheets of music as the two domains. A roll and its sheet line up in every column and every row.

notes.py and layout.py say what a system of music is and where its notes lie; roll.py draws and reads rolls.
"""
