import pytest

pytestmark = pytest.mark.usefixtures("app_folder")


@pytest.fixture(autouse=True)
def _app(app_folder: None) -> None:
    """Every fleet here names the app's folder."""
