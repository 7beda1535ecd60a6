"""What Holdfast is compared with: each the best version that a team would write by hand, not a straw man."""
