"""Staff: who belongs here, one's own account, and what everybody did."""

from __future__ import annotations

from django.urls import path

from dashboard import activity_views, people_views

urlpatterns = [
    path("people/", people_views.people_list, name="people-list"),
    path("people/invite/", people_views.people_invite, name="people-invite"),
    path("people/invitations/<uuid:pk>/", people_views.people_invitation, name="people-invitation"),
    path(
        "people/invitations/<uuid:pk>/revoke/",
        people_views.people_invitation_revoke,
        name="people-invitation-revoke",
    ),
    path("people/<int:pk>/", people_views.people_edit, name="people-edit"),
    path("people/<int:pk>/deactivate/", people_views.people_deactivate, name="people-deactivate"),
    path("people/<int:pk>/reactivate/", people_views.people_reactivate, name="people-reactivate"),
    path(
        "people/<int:pk>/reset-factor/",
        people_views.people_reset_factor,
        name="people-reset-factor",
    ),
    path("invitation/<str:token>/", people_views.invitation, name="invitation"),
    path("me/", people_views.own_account, name="own-account"),
    path("activity/", activity_views.activity, name="activity"),
    path("activity/export.csv", activity_views.activity_export, name="activity-export"),
]
