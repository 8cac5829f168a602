"""How good are edits, on people that no model was trained on? One module for each question."""
