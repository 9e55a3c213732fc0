"""Recognise, probe and losslessly optimise images. Imported by workers only: nothing here may run in the daemon."""
