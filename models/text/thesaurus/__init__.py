"""Map English, German, French, Spanish and Chinese words to the words that pocket was trained on."""
