"""Promote: compare a challenger with the champion, propose a change, carry it out."""
