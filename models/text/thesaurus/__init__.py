"""What words mean in the words that pocket was trained on: English, German, French, Spanish and Chinese."""
