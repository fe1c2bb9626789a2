"""What a profile could save, each piece a change of its facts that is priced anew."""
