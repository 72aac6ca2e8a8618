"""Where rules and outside things meet: one module for each effect of a sale. Called by web and worker alike."""
