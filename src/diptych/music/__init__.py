"""Music: piano rolls and sheet music as the two domains. A roll and its sheet line up column by column and row by row.

notes.py defines a system of music, layout.py where its notes lie in a picture; roll.py draws and reads rolls.
"""
