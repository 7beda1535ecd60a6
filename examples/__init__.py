"""Programs that use Holdfast by its Python client. They import nothing of the service itself."""
