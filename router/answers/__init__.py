"""From a decision to an answer: take the drawn arm, cite, and degrade to another where it fails."""
