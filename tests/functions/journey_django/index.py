# -*- coding: utf-8 -*-
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="for-tests", DEBUG=False, USE_TZ=True, MIDDLEWARE=[]
)


def hello(request, name):
    answer = JsonResponse({
        "name": name,
        "args": request.GET.getlist("a"),
        "form": request.POST.get("field"),
        "cookie": request.COOKIES.get("who"),
        "function": request.environ["fc.context"].function.name,
    })
    answer.set_cookie("seen", "yes")
    return answer


def same(request):
    return HttpResponse(request.body, status=201, content_type="image/png")


if django.VERSION >= (2, 0):
    from django.urls import re_path as route
else:
    from django.conf.urls import url as route

urlpatterns = [route(r"^hello/(?P<name>[^/]+)$", hello), route(r"^bytes$", same)]
app = get_wsgi_application()
