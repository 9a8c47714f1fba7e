"""How results look: cards, tables, figures, a live panel and the playground."""
