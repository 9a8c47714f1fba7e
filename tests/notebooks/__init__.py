"""What holds for the notebooks: their form, their lesson's form, what they cite, and (slow) Run All with solutions."""
