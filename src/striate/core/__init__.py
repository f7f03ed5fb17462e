"""What everything else stands on: specs, geometry, samples, transforms, random draws and the model file."""
