"""What external processors are asked and answer, apart from who asks them."""
