"""What has been paid for, kept in a file so that it is never asked twice."""
