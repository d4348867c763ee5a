"""How the model that ships with codetune is made: a ladder of recipes, the run, its score card, and the files that go into the package."""
