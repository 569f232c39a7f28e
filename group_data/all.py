celery_app = "shop.app"
app_source = "examples/shop"
_sudo = True
