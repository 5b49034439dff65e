"""In the process that leads: steps gathered by the recipe, evaluated and recorded."""
