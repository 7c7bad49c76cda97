"""Accuracy of the family beside other recommenders: same splits, same metrics, equal time for tuning."""
