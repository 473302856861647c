"""Small changes of the sources that the tests must find: sampled, planted into a copy, and tested there."""
